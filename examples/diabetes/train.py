"""Train the model of this example and write it to model/ beside this file."""

from pathlib import Path

import joblib
from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER = Path(__file__).resolve().parent / "model"


def main() -> None:
    """Fit a ridge regression to 442 patients' measurements and the progression of their disease."""
    measurements, progression = load_diabetes(return_X_y=True, scaled=False)
    train_x, test_x, train_y, test_y = train_test_split(measurements, progression, random_state=0)
    model = make_pipeline(StandardScaler(), RidgeCV())
    model.fit(train_x, train_y)
    FOLDER.mkdir(exist_ok=True)
    joblib.dump(model, FOLDER / "model.joblib")
    print(f"R2 on patients it has not seen: {model.score(test_x, test_y):.2f}")


if __name__ == "__main__":
    main()
