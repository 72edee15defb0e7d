"""The adapter to Azure: the only place that imports the Azure SDK."""
