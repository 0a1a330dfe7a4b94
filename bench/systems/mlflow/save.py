"""Saves a model that is written as code (models from code, in its documents) where the server is to find it.

Usage: python save.py WORK FOLDER
"""

import sys

import mlflow

if __name__ == "__main__":
    mlflow.pyfunc.save_model(path=sys.argv[2], python_model=f"model_{sys.argv[1]}.py", pip_requirements=[])
