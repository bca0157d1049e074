"""The ports of language models over any OpenAI-compatible endpoint: OpenAI, Azure, Ollama, vLLM, llama.cpp, TEI."""

from app.ports.openai_api.chat import Limits, OpenAIModel
from app.ports.openai_api.embeddings import OpenAIEmbedder

__all__ = ["Limits", "OpenAIEmbedder", "OpenAIModel"]
