"""What scoring scripts import, under the name of the Azure ML SDK."""
