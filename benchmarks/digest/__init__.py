"""The digest's table, on the nearest real networks and data."""
