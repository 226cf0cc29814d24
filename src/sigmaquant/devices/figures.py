"""The kinds of numbers and texts in a profile, with their limits."""

from __future__ import annotations

from typing import Annotated

import pydantic

Text = Annotated[str, pydantic.Field(min_length=1)]
Figure = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
PositiveFigure = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
