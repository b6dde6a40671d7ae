"""PyTorch's own attention: vLLM-Omni's branch for CUDA, which is the same code."""

from vllm_omni.diffusion.attention.backends.sdpa import SDPABackend, SDPAImpl


class Attention(SDPAImpl):
    def forward(self, *args, **kwargs):
        return self.forward_cuda(*args, **kwargs)


class Backend(SDPABackend):
    @staticmethod
    def get_impl_cls() -> type[Attention]:
        return Attention
