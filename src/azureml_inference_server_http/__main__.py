"""``python -m azureml_inference_server_http``."""

from azmlinfsrv.cli import main

if __name__ == "__main__":
    main()
