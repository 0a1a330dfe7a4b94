"""Saves a classifier of iris flowers with MLflow, at the path that is given."""

import sys

import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]

flowers, species = load_iris(return_X_y=True, as_frame=True)
flowers.columns = COLUMNS
model = LogisticRegression(max_iter=500).fit(flowers, species)
signature = mlflow.models.infer_signature(flowers, model.predict(flowers))
mlflow.sklearn.save_model(
    model, sys.argv[1], signature=signature, serialization_format="cloudpickle", pip_requirements=[]
)
