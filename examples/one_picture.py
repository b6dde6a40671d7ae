"""Generate one image with the client alone and write its bytes to a file."""

from pathlib import Path

from vllm_omni_client import ImageGenerationRequest, OmniClient

request = ImageGenerationRequest(
    prompt="a red fox in the snow", size="512x512", num_inference_steps=4, guidance_scale=1.0, seed=7
)

with OmniClient("http://localhost:6655") as client:
    reply = client.generate_image(request)

path = Path("fox.png")
path.write_bytes(reply.data[0].bytes)
print(path.resolve())
