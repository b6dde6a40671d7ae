"""Run by Python when it starts with this folder in its path: lets CUDA's wheels and vLLM go without a GPU."""

try:
    import torch.cpu
except ImportError:
    torch = None

OPERATORS = (
    "nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor",
)

if torch is not None:
    # With AMX, vLLM chooses a kernel that a build without kernels lacks.
    torch.cpu._is_amx_tile_supported = lambda: False
    if torch.version.cuda is None:
        # torchvision's library is built for CUDA and does not load; its Python part wants these names.
        declared = torch.library.Library("torchvision", "FRAGMENT")
        for operator in OPERATORS:
            declared.define(operator)
