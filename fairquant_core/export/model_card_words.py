"""The sentences of a model card."""

from __future__ import annotations

SYNTHETIC = (
    "**The pictures that it was judged on were drawn by a computer program. Nothing here says anything about "
    "real people.**"
)
WHAT = (
    "A classifier of photographs of skin lesions ({architecture}). It always answers with one of {count} classes: "
    "{classes}."
)
SMALLER = (
    "Its weights were stored with fewer bits so that it fits on a small device: {packed} instead of {full}{times}. "
    "This card is about what that cost, and for whom."
)
NO_DIAGNOSIS = (
    "It is no diagnosis and no medical device. A person who can judge the lesion has to decide."
)
NOBODY_SAID = "Nobody has written down {what}. Ask the people who approved it before you use it."
NOT_ALONE = "Not as the only reason for a decision about a patient."
ONLY_THESE = "Not for anything but the {count} classes above: it answers with one of them whatever the picture shows."
LICENCE = "Licence of this classifier: {licence}."
NO_LICENCE = "Under which licence this classifier may be handed on is not known here; ask whoever gave it to you."
DATA_LICENCE = "Terms of the images that it was judged on: {licence}."

INTERVALS = (
    "Figures in brackets are {level:.0f} % intervals. *Before* is the original classifier, *after* the small one, "
    "on the same {images} images{clusters}. Groups: {title}, from the column '{column}'{source}."
)
LIMIT = "Agreed before the run: the {measure} of no group may fall by more than {margin}."
VERDICT_MEANS = {
    "WITHIN": "the data show that less than the agreed limit is lost",
    "OUTSIDE": "the data show that more than the agreed limit is lost",
    "INSUFFICIENT EVIDENCE": "these images cannot tell; this is not a pass",
}
NO_VERDICT = "No small classifier was compared with the original one, so there is no verdict."
OLD = "This run was audited before the other figures existed."
OTHER_FIGURES = (
    "All other figures (calibration curves, gaps between groups, fairness criteria, single conditions) are in "
    "audit.json."
)

PROXY = {
    "fst": (
        "The groups are Fitzpatrick types as somebody saw them on photographs. The scale was made to describe how skin "
        "reacts to ultraviolet light, not its colour: it is a proxy, and two annotators often disagree."
    ),
    "mst": (
        "The groups are Monk skin tones as somebody saw them on photographs. Judging a tone from a photograph depends "
        "on light and camera: it is a proxy, and two annotators can disagree."
    ),
    "values": "The groups are those of the column '{column}', as somebody recorded them.",
}
FLIPS = "Of {images} images {lost} were right before and are wrong now, {gained} the other way round. By group:"
CRITICAL = "{lost} of the lost ones show a condition that must not be missed ({classes})."

APPROVED = "Approved by {person} ({role}) on {time}."
OVERRIDE = "The verdict was {verdict}. Reason written down for approving nevertheless: {text}"
COMMENT = "Comment: {text}"
TYPED = "The name was typed and not authenticated; decisions.json holds all decisions, chained by their hashes."
NOT_APPROVED = "**Nobody has approved this classifier. Do not use it.**"

INPUT = (
    "The input `images` is float32 (n, 3, {size}, {size}): turn the photograph upright (EXIF), scale its shorter side "
    "to {shorter} pixels ({interpolation}), cut out the middle {size} x {size}, divide the values by 255, subtract the "
    "mean {mean} and divide by {std} (red, green, blue). The output is one score (logit) per class in the order above; "
    "softmax makes probabilities of them. The file says all this itself, in its metadata under `fairquant`."
)
RUN_IT = (
    "`python {program} model.onnx photo.jpg` does exactly that with onnxruntime, numpy and pillow."
)
ANY_RUNTIME = (
    "model.onnx opens in any stock ONNX Runtime (opset 20); nothing else has to be installed."
)
TABLET = "The folder `tablet/` holds a page that classifies on a tablet without a network."
FAST = (
    "fast.onnx computes with whole numbers. It is another classifier with an audit of its own (fast_audit.json): "
    "{verdict}. {sentence}"
)
OWN_AUDIT = (
    "The last bits of model.onnx can differ from the audited weights, so it has an audit of its own, and the figures "
    "of this card are from that one."
)
VERIFY = """\
```sh
python -m fairquant_core verify BUNDLE.zip --key signing_key.pub
```

It checks every byte, the signature, the chain of decisions, whether what was approved is what lies here, and that the
figures follow from the packed predictions. Get `signing_key.pub` from the people who signed, not from the bundle.
README.txt says how to check the signature without this program. These sums (SHA-256) are bound by the approval:"""
