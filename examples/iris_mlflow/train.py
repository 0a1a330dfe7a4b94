"""Train the model of this example and save it with MLflow to model/ beside this file."""

import shutil
from pathlib import Path

import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER = Path(__file__).resolve().parent / "model"
COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def main() -> None:
    """Fit a classifier of iris flowers, and save it with its signature and an example of its input."""
    data = load_iris(as_frame=True)
    flowers = data.data.set_axis(COLUMNS, axis="columns")
    species = data.target.map(dict(enumerate(data.target_names)))
    train_x, test_x, train_y, test_y = train_test_split(flowers, species, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(train_x, train_y)
    shutil.rmtree(FOLDER, ignore_errors=True)
    mlflow.sklearn.save_model(
        model,
        FOLDER,
        signature=mlflow.models.infer_signature(train_x, model.predict(train_x)),
        serialization_format="cloudpickle",  # the default of the newest releases needs the package skops
        pip_requirements=["mlflow-skinny", "pandas", "scikit-learn"],
    )
    print(f"Accuracy on flowers it has not seen: {model.score(test_x, test_y):.2f}")


if __name__ == "__main__":
    main()
