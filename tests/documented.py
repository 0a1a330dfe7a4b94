"""What the documents of the released server list: environment variables, and keys of config.json."""

from __future__ import annotations

# `inference-server.md`, "Environment variables (dynamic configuration)".
VARIABLES = [
    "AML_APP_ROOT",
    "AML_SERVER_ROOT",
    "AML_ENTRY_SCRIPT",
    "AML_SOURCE_DIRECTORY",
    "AZUREML_MODEL_DIR",
    "SERVER_VERSION_LOG_RESPONSE_ENABLED",
    "AML_CORS_ORIGINS",
    "SERVICE_NAME",
    "SERVICE_PATH_PREFIX",
    "SERVICE_VERSION",
    "SCORING_TIMEOUT_MS",
    "WORKER_COUNT",
    "WORKER_TIMEOUT",
    "WORKER_PRELOAD",
    "AZUREML_LOG_LEVEL",
    "AML_DBG_MODEL_INFO",
    "AML_APP_INSIGHTS_ENABLED",
    "AML_APP_INSIGHTS_KEY",
    "AML_APP_INSIGHTS_ENDPOINT",
    "AML_MODEL_DC_STORAGE_ENABLED",
    "HOSTNAME",
    "WORKSPACE_NAME",
    "AZUREML_CONFIG_FILE",
]

# `inference-server.md`, "Load Server Config from JSON": key and default.
KEYS = {
    "AML_APP_ROOT": "/var/azureml-app",
    "AZUREML_SOURCE_DIRECTORY": None,
    "AZUREML_ENTRY_SCRIPT": None,
    "SERVICE_NAME": "ML service",
    "WORKSPACE_NAME": "",
    "SERVICE_PATH_PREFIX": "",
    "SERVICE_VERSION": "1.0",
    "SCORING_TIMEOUT_MS": 3600 * 1000,
    "AML_FLASK_ONE_COMPATIBILITY": True,
    "AZUREML_LOG_LEVEL": None,  # the loggers' own, which is the documented INFO
    "AML_APP_INSIGHTS_ENABLED": False,
    "AML_APP_INSIGHTS_KEY": None,
    "AML_MODEL_DC_STORAGE_ENABLED": False,
    "APP_INSIGHTS_LOG_RESPONSE_ENABLED": True,
    "AML_CORS_ORIGINS": None,
    "AZUREML_MODEL_DIR": None,
    "HOSTNAME": "Unknown",
    "AZUREML_DEBUG_PORT": None,
}
