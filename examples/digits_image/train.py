"""Train the model of this example, write it to model/ beside this file, and make a sample request."""

from pathlib import Path

import joblib
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

HERE = Path(__file__).resolve().parent
SAMPLE_SIDE = 160


def main() -> None:
    """Fit a classifier to 8 by 8 pixel digits, and save one that it has not seen as sample.png."""
    train_x, test_x, train_y, test_y = train_test_split(*load_digits(return_X_y=True), random_state=0)
    model = SVC(gamma=0.001, random_state=0)
    model.fit(train_x, train_y)
    (HERE / "model").mkdir(exist_ok=True)
    joblib.dump(model, HERE / "model" / "model.joblib")
    print(f"Accuracy on digits it has not seen: {model.score(test_x, test_y):.3f}")

    pixels = (test_x[0].reshape(8, 8) * (255 / 16)).astype(np.uint8)
    image = Image.fromarray(pixels).resize((SAMPLE_SIDE, SAMPLE_SIDE), Image.Resampling.BICUBIC)
    image.save(HERE / "sample.png")
    print(f"sample.png shows a {test_y[0]}")


if __name__ == "__main__":
    main()
