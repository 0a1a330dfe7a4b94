"""Train the model of this example and write it to model/ beside this file."""

from pathlib import Path

import joblib
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER = Path(__file__).resolve().parent / "model"
FEATURES = ["alcohol", "color_intensity", "flavanoids", "proline"]


def main() -> None:
    """Fit a classifier that tells three cultivars apart by four measurements of their wine."""
    wines, cultivars = load_wine(return_X_y=True, as_frame=True)
    train_x, test_x, train_y, test_y = train_test_split(wines[FEATURES], cultivars, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(train_x, train_y)
    FOLDER.mkdir(exist_ok=True)
    joblib.dump(model, FOLDER / "model.joblib")
    print(f"Accuracy on wines it has not seen: {model.score(test_x, test_y):.2f}")


if __name__ == "__main__":
    main()
