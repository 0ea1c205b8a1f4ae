"""LoRA adapters: any file is read exactly into one normal form, verified, and applied exactly, or refused."""
