"""Retort's stages: train a LoRA adapter on curated failures, merge it into its base model."""
