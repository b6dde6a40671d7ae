"""Create a model with a few random weights, whose images are noise, for a real server.

Run by the Python that the server is installed in: `python tiny_model.py klein|qwen FOLDER`.
"""

import sys

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2TokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TURN = "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
ANSWER = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TEXT = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "bos_token_id": 256,
    "pad_token_id": 256,
    "eos_token_id": 258,
}


def alphabet() -> list[str]:
    """One printable character for each of the 256 bytes, as byte-level tokenizers have it."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(hidden))]


def tokenizer() -> Qwen2TokenizerFast:
    """Create a tokenizer for which every byte is a token."""
    vocabulary = {text: number for number, text in enumerate([*alphabet(), *SPECIAL])}
    end_of_text, start, end = SPECIAL
    made = Qwen2TokenizerFast(
        vocab=vocabulary,
        merges=[],
        unk_token=end_of_text,
        pad_token=end_of_text,
        eos_token=end,
        extra_special_tokens=[start],
    )
    made.chat_template = f"{{% for message in messages %}}{TURN}{{% endfor %}}{ANSWER}"
    return made


def scheduler(**settings: float) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, **settings)


def klein() -> Flux2KleinPipeline:
    """Create a model for text to image and image to image."""
    text = Qwen3Config(
        **TEXT,
        num_hidden_layers=3,
        head_dim=16,
        max_position_embeddings=1024,
        text_encoder_out_layers=[1, 2, 3],
    )
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=96,
        timestep_guidance_channels=32,
        axes_dims_rope=(8, 8, 8, 8),
        guidance_embeds=False,
    )
    vae = AutoencoderKLFlux2(
        block_out_channels=(8,) * 4, latent_channels=4, norm_num_groups=4, layers_per_block=1, sample_size=64
    )
    return Flux2KleinPipeline(
        scheduler=scheduler(max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096, shift=3.0),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(text),
        tokenizer=tokenizer(),
        transformer=transformer,
        is_distilled=True,
    )


def qwen() -> QwenImagePipeline:
    """Create a model for text to image."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    text = Qwen2_5_VLConfig(
        text_config={
            **TEXT,
            "num_hidden_layers": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": rope,
        },
        vision_config={**vision, "fullatt_block_indexes": [0]},
        image_token_id=300,
        video_token_id=301,
        vision_start_token_id=302,
        vision_end_token_id=303,
    )
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=64,
        out_channels=16,
        num_layers=2,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=32,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=16,
        dim_mult=[1] * 4,
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 16,
        latents_std=[1.0] * 16,
    )
    return QwenImagePipeline(
        scheduler=scheduler(
            max_shift=0.9, base_image_seq_len=256, max_image_seq_len=8192, shift_terminal=0.02
        ),
        vae=vae,
        text_encoder=Qwen2_5_VLForConditionalGeneration(text),
        tokenizer=tokenizer(),
        transformer=transformer,
    )


if __name__ == "__main__":
    kind, folder = sys.argv[1:]
    torch.manual_seed(0)
    {"klein": klein, "qwen": qwen}[kind]().to(torch.bfloat16).save_pretrained(folder)
