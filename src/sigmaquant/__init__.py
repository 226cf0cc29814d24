"""SigmaQuant: every layer its own bitwidth, under the budgets of the target device."""
