"""Plans in other tools' pipelines; each tool is an extra, imported in one module."""
