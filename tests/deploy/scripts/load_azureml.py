"""Load endpoint, environment and deployment as the Azure ML command line does, and print them as JSON; no network."""

import json
import os
import sys

from azure.ai.ml import load_environment, load_online_deployment, load_online_endpoint
from azure.ai.ml._local_endpoints.azureml_image_context import AzureMlImageContext

folder = sys.argv[1]
endpoint = load_online_endpoint(os.path.join(folder, "endpoint.yml"))
environment = load_environment(os.path.join(folder, "environment.yml"))
deployment = load_online_deployment(os.path.join(folder, "deployment.yml"))
code = (deployment.base_path / deployment.code_configuration.code).resolve()
# What the SDK's own local deployment mounts and tells.
local = AzureMlImageContext(
    endpoint.name, deployment.name, code, deployment.code_configuration.scoring_script, deployment.model.path
)
print(
    json.dumps(
        {
            "endpoint": endpoint._to_dict(),
            "environment": environment._to_dict(),
            "deployment": deployment._to_dict(),
            "routes": deployment.environment._to_dict()["inference_config"],
            "code": str(code),
            "local": local.environment,
            "mounts": [mount["bind"] for volume in local.volumes.values() for mount in volume.values()],
        },
        default=str,
    )
)
