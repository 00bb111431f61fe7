"""Conversations: records of data sets for tuning in, their text by a template, token ids and loss weights out. No JAX.

`read_records` reads a file's `Conversation`s, `Text`s and `Pair`s; `get_template(name)` knows how LLM-jp wrote them;
`encode` and `encode_pair` give ids and weights. For a chat, `parse_messages` reads its messages and `fit_prompt` gives what a
model goes on from.
"""

from llmjp_jax.conversations.chats import ChatPrompt, fit_prompt, until
from llmjp_jax.conversations.masks import (
    Encoded,
    encode,
    encode_pair,
    encode_prompt,
    response_spans,
    truncate_pair,
)
from llmjp_jax.conversations.parsing import (
    MAX_RECORD_BYTES,
    parse_messages,
    parse_record,
    read_records,
)
from llmjp_jax.conversations.records import Conversation, Pair, Record, Text, Turn
from llmjp_jax.conversations.templates import (
    TEMPLATES,
    Rendered,
    Template,
    chat_template_name,
    get_template,
)

__all__ = [
    "MAX_RECORD_BYTES",
    "TEMPLATES",
    "ChatPrompt",
    "Conversation",
    "Encoded",
    "Pair",
    "Record",
    "Rendered",
    "Template",
    "Text",
    "Turn",
    "chat_template_name",
    "encode",
    "encode_pair",
    "encode_prompt",
    "fit_prompt",
    "get_template",
    "parse_messages",
    "parse_record",
    "read_records",
    "response_spans",
    "truncate_pair",
    "until",
]
