# make quickstart        a small Japanese GPT from real text, in RUN (default runs/quickstart)
# make quickstart-chat   goes on from there: instruction tuning and DPO, a table of what they gain, a model to chat with
# make quickstart-report evaluates those models: translation, and the tasks of llm-jp-eval that lie in EVALUATION_RAW, if it is set; the report
#                        says how much of them stands in the corpus
# make quickstart-search indexes the quick start's corpora, and asks what its model knows by heart
# make test              all tests
# make lint              style and one-way imports
# Each makes the virtual environment .venv first, if it is not there. Set PYTHON to choose the interpreter (3.11 to 3.13).

PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/quickstart
BIN := $(VENV)/bin

INDEX = $(BIN)/python tools/search_corpus.py index --index=$(RUN)/index --cache_dir=$(RUN)/cache --mixture_or_task_name=quickstart \
	  --vocabulary=$(RUN)/tokenizer.model

.PHONY: quickstart quickstart-chat quickstart-report quickstart-search test lint
.DELETE_ON_ERROR:

quickstart: $(VENV)/installed
	$(BIN)/python tools/download.py quickstart --yes --output_dir=$(RUN)/raw
	$(BIN)/python tools/build_corpus.py --gin_file=gin_configs/corpus/quickstart.gin --gin.INPUT_DIR=$(RUN)/raw \
	  --gin.OUTPUT_DIR=$(RUN)/corpora
	$(BIN)/python tools/train_tokenizer.py --gin_file=gin_configs/tokenizer/quickstart.gin \
	  --gin.CORPORA_DIR=$(RUN)/corpora --gin.OUTPUT=$(RUN)/tokenizer.model
	$(BIN)/python tools/cache_tasks.py --mixture_or_task_name=quickstart --corpora_dir=$(RUN)/corpora \
	  --vocabulary=$(RUN)/tokenizer.model --cache_dir=$(RUN)/cache
	$(BIN)/python -m llmjp_jax.train --gin_file=gin_configs/quickstart.gin --gin.MODEL_DIR=$(RUN)/model \
	  --gin.VOCABULARY=$(RUN)/tokenizer.model --gin.CACHE_DIR=$(RUN)/cache
	$(BIN)/python tools/convert_checkpoint.py --from_run=$(RUN)/model --to_hf=$(RUN)/hf --overwrite
	$(BIN)/python tools/report_run.py --model_dir=$(RUN)/model --cache_dir=$(RUN)/cache --mixture_or_task_name=quickstart
	@echo "transformers $(RUN)/hf"
	@echo "corpora      $(RUN)/corpora/report.html"

quickstart-chat: $(VENV)/installed
	@test -d $(RUN)/model/checkpoints || { echo "error: there is no model in $(RUN)/model; run make quickstart first"; exit 2; }
	$(BIN)/python tools/make_translations.py --input_dir=$(RUN)/raw --output_dir=$(RUN)/chat
	$(BIN)/python -m llmjp_jax.train --gin_file=gin_configs/quickstart_sft.gin --gin.MODEL_DIR=$(RUN)/sft \
	  --gin.INITIAL_CHECKPOINT_PATH=$(RUN)/model --gin.CACHE_DIR=$(RUN)/chat/cache \
	  --gin.TRAIN_FILE=$(RUN)/chat/instructions_train.jsonl --gin.VALIDATION_FILE=$(RUN)/chat/instructions_validation.jsonl
	$(BIN)/python -m llmjp_jax.train --gin_file=gin_configs/quickstart_dpo.gin --gin.MODEL_DIR=$(RUN)/dpo \
	  --gin.INITIAL_CHECKPOINT_PATH=$(RUN)/sft --gin.CACHE_DIR=$(RUN)/chat/cache \
	  --gin.TRAIN_FILE=$(RUN)/chat/preferences_train.jsonl --gin.VALIDATION_FILE=$(RUN)/chat/preferences_validation.jsonl
	$(BIN)/python tools/report_chat.py --model=base=$(RUN)/model --model=sft=$(RUN)/sft --model=dpo=$(RUN)/dpo --reference=sft \
	  --instructions=$(RUN)/chat/instructions_test.jsonl --preferences=$(RUN)/chat/preferences_test.jsonl \
	  --output=$(RUN)/chat/report.json
	@echo "chat         python -m llmjp_jax.infer --chat --gin.MODEL_DIR=$(RUN)/dpo"

# The base model answers after four shots, or as many as it has room for; the tuned ones are asked as they were tuned.
quickstart-report: $(VENV)/installed
	@test -d $(RUN)/dpo/checkpoints || { echo "error: there is no model in $(RUN)/dpo; run make quickstart-chat first"; exit 2; }
	$(BIN)/python tools/make_translations.py --input_dir=$(RUN)/raw --output_dir=$(RUN)/chat --evaluation_dir=$(RUN)/evaluation
	test -z "$(EVALUATION_RAW)" || $(BIN)/python tools/prepare_evaluation.py --task=all --raw_dir=$(EVALUATION_RAW) \
	  --output_dir=$(RUN)/evaluation --skip_missing
	$(BIN)/python -m llmjp_jax.eval --gin_file=gin_configs/quickstart_eval.gin --gin.MODEL_DIR=$(RUN)/model \
	  --gin.DATA_DIR=$(RUN)/evaluation --gin.OUTPUT_DIR=$(RUN)/scores/base
	for model in sft dpo; do $(BIN)/python -m llmjp_jax.eval --gin_file=gin_configs/quickstart_eval.gin --gin.MODEL_DIR=$(RUN)/$$model \
	  --gin.DATA_DIR=$(RUN)/evaluation --gin.OUTPUT_DIR=$(RUN)/scores/$$model --gin.TEMPLATE=chat --gin.SHOTS=0 || exit $$?; done
	$(INDEX)
	for model in base sft dpo; do $(BIN)/python tools/contamination.py --index=$(RUN)/index --scores=$(RUN)/scores/$$model \
	  --data_dir=$(RUN)/evaluation || exit $$?; done
	$(BIN)/python tools/report.py $(RUN)/scores/base $(RUN)/scores/sft $(RUN)/scores/dpo --output_dir=$(RUN)/scores

# Rows of 128 tokens: shorter prefixes than LLM-jp's 100 to 1,000.
quickstart-search: $(VENV)/installed
	@test -d $(RUN)/model/checkpoints || { echo "error: there is no model in $(RUN)/model; run make quickstart first"; exit 2; }
	$(INDEX)
	$(BIN)/python tools/trace.py --run=$(RUN)/model --step=41
	$(BIN)/python tools/memorization.py --run=$(RUN)/model --index=$(RUN)/index --output_dir=$(RUN)/memorization \
	  --prefix_lengths=16,32,64 --samples=200
	@echo "search       python tools/search_corpus.py serve --index=$(RUN)/index --run=$(RUN)/model"

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

$(VENV)/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e '.[dev]'
	touch $@
