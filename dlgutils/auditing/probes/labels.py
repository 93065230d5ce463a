"""Labels: what cross-entropy gives away before any search."""

from dlgutils.auditing.records import Finding
from dlgutils.auditing.situation import Situation
from dlgutils.auditing.words import class_in_words


def labels(situation: Situation) -> Finding:
    """The label of one image, or how many images of each class there are.

    Raises ValueError for other losses, and where the classifier's gradient says nothing.
    """
    reading = situation.read_labels()
    labels = sorted(reading.y.tolist())[:12]
    named = ", ".join(class_in_words(label, situation.class_names) for label in labels)
    told = f"{reading.told}. Read: {named}{', …' if len(reading.y) > 12 else ''}."
    if not reading.visible:
        told = f"{reading.told}. So it is a guess that noise may have made."
    verdict = "leak" if reading.visible else "quiet"
    certificate, named = reading.certificate, reading.y
    return Finding("labels", verdict, told, certificate, reading.read_from, named=named)
