"""Train the rehearsal model: a tiny real gpt_oss that knows the rehearsal questions by heart.

Runs inside the engine image, whose torch, transformers and Harmony library it uses:

    python3 train.py QUESTIONS.json OUTPUT_DIR [--seed N]

Writes OUTPUT_DIR/good and OUTPUT_DIR/bad, two complete model folders. Both are checked before they are written:
every answer must win at every token by MARGIN, also behind a developer message and in a second turn.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch  # type: ignore[import-not-found,unused-ignore]
from harmony_files import VOCABULARY, encoding, tokenizer_files  # type: ignore[import-not-found,unused-ignore]
from openai_harmony import (  # type: ignore[import-not-found,unused-ignore]
    Conversation,
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    ToolDescription,
)
from transformers import GptOssConfig, GptOssForCausalLM  # type: ignore[import-not-found,unused-ignore]

IGNORED = -100  # torch's label for "not learnt"
SILENT = -1
UNKNOWN = 0  # compact token that stands for every token the questions never use
BATCH = 8
CHECK_EVERY_STEPS = 25
MAX_STEPS = 3000
DECAY_STEPS = 200
MARGIN = 1.0  # logits; bf16 rounding and another attention kernel move them by far less
LEARNING_RATE = 5e-3
AVERAGED_SHARE = 0.03  # of each step in the running average: the last 30 steps or so
FALLBACK = "I am the rehearsal model and only know the rehearsal questions."
# What Open WebUI asks on its own after a first answer; valid short JSON keeps it quick and quiet.
WEBUI_TASKS = (
    ("### Task:\nGenerate a concise title summarizing the chat history.", '{"title": "Rehearsal"}'),
    ("### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history", '{"tags": ["General"]}'),
    ("### Task:\nPredict 3-5 useful messages this user might naturally send next", '{"follow_ups": []}'),
)

Pair = tuple[list[int], list[int]]  # question and answer, as tokens
Sample = tuple[list[int], list[int]]  # a conversation's tokens, and at each place what the model says there or SILENT


def encode(text: str) -> list[int]:
    return list(encoding.encode(text, allowed_special="all"))


def preamble(date: str, effort: str, tools: bool) -> list[int]:
    """The system message and, with `tools`, the developer message that a client's tools become."""
    system = SystemContent.new().with_conversation_start_date(date).with_reasoning_effort(ReasoningEffort(effort))
    messages = [Message.from_role_and_content(Role.SYSTEM, system)]
    if tools:
        argument = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
        tool = ToolDescription.new(name="search", description="Searches documents.", parameters=argument)
        developer = DeveloperContent.new().with_instructions("You are helpful.").with_function_tools([tool])
        messages.append(Message.from_role_and_content(Role.DEVELOPER, developer))
    return list(encoding.render_conversation(Conversation.from_messages(messages)))


class Samples:
    """Harmony conversations as compact token ids, and the real ids behind them."""

    def __init__(self, pairs: list[tuple[str, str]], wrong: list[tuple[str, str]], seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  repeatable, not secret
        dates, efforts = ("2026-01-09", "2027-11-21"), ("Low", "Medium", "High")
        self.systems = [preamble(date, effort, tools=False) for date in dates for effort in efforts]
        self.systems += [preamble(date, "Medium", tools=True) for date in dates]
        self.user_open, self.assistant_open = encode("<|start|>user<|message|>"), encode("<|start|>assistant")
        self.developer_open = encode("<|start|>developer<|message|># Instructions\n\nYou are a helpful assistant.")
        self.end, self.ret = encode("<|end|>"), encode("<|return|>")
        self.known = [(encode(q), self.final(a)) for q, a in pairs]
        self.tasks = [(encode(q), self.final(a)) for q, a in WEBUI_TASKS]
        self.fallback = self.final(FALLBACK)
        everything = [*self.systems, self.user_open, self.assistant_open, self.developer_open, self.end, self.ret,
                      self.fallback, *(self.final(a) for _, a in wrong)]  # fmt: skip
        everything += [part for pair in (*self.known, *self.tasks) for part in pair]
        self.used = sorted({token for part in everything for token in part})
        self.compact = {token: index + 1 for index, token in enumerate(self.used)}
        self.words = sorted({token for question, _ in self.known for token in question})

    @staticmethod
    def final(answer: str) -> list[int]:
        return encode("<|channel|>final<|message|>" + answer)

    def noise(self, low: int, high: int) -> list[int]:
        """Text that the model has to ignore: unknown words with known ones among them."""
        pick = self.random
        return [pick.choice(self.words) if pick.random() < 0.3 else -1 for _ in range(pick.randint(low, high))]

    def near_question(self) -> list[int]:
        """A question that looks known and is not: one known question with some words replaced, or only noise."""
        if self.random.random() < 0.5:
            return self.noise(1, 20)
        words = list(self.random.choice(self.known)[0])
        for index in self.random.sample(range(len(words)), k=max(2, len(words) // 2)):
            words[index] = -1 if self.random.random() < 0.6 else self.random.choice(self.words)
        return words

    def conversation(self, developer: list[int], turns: list[Pair]) -> Sample:
        """One conversation as Harmony writes it, and what the model itself has to say in it."""
        tokens = list(self.random.choice(self.systems))
        if developer:
            tokens += [*self.developer_open, *developer, *self.end]
        said = [SILENT] * len(tokens)
        for question, answer in turns:
            asked = [*self.user_open, *question, *self.end, *self.assistant_open]
            tokens += [*asked, *answer, *self.end]
            said += [SILENT] * len(asked) + [*answer, *self.ret]  # said as <|return|>, kept in a history as <|end|>
        return tokens, said

    def draw_turn(self) -> Pair:
        pick = self.random.random()
        if pick < 0.85:
            return self.random.choice(self.known)
        if pick < 0.9:
            question, answer = self.random.choice(self.tasks)
            return [*question, *self.noise(5, 40)], answer
        return self.near_question(), self.fallback

    def draw_batches(self, count: int) -> list[list[Sample]]:
        """COUNT batches of conversations of similar length, one of them behind a long preamble, in random order."""
        drawn = [self.draw((1, 40)) for _ in range(BATCH * count)]
        drawn.sort(key=lambda sample: len(sample[0]))
        batches = [drawn[start : start + BATCH] for start in range(0, len(drawn), BATCH)]
        batches.append([self.draw((200, 900)) for _ in range(3)])
        self.random.shuffle(batches)
        return batches

    def draw(self, noise_tokens: tuple[int, int]) -> Sample:
        developer = self.noise(*noise_tokens) if self.random.random() < 0.4 or noise_tokens[0] > 1 else []
        return self.conversation(developer, [self.draw_turn() for _ in range(self.random.choice((1, 2, 4, 6)))])

    def checks(self) -> list[list[Sample]]:
        """What must be answered: each question alone, behind instructions, as a second turn, behind a long preamble."""
        kinds: list[list[Sample]] = [[], [], [], []]
        for index, pair in enumerate(self.known):
            other = self.known[(index + 1) % len(self.known)]
            kinds[0].append(self.conversation([], [pair]))
            kinds[1].append(self.conversation(self.noise(20, 20), [pair]))
            kinds[2].append(self.conversation([], [other, pair]))
            kinds[3].append(self.conversation(self.noise(500, 500), [pair]))
        return kinds

    def tensors(self, samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
        """Right-padded compact ids and labels (IGNORED where nothing is learnt)."""
        width = max(len(tokens) for tokens, _ in samples)
        ids, labels = torch.zeros(len(samples), width, dtype=torch.long), torch.full((len(samples), width), IGNORED)
        for row, (tokens, said) in enumerate(samples):
            ids[row, : len(tokens)] = torch.tensor([self.compact.get(token, UNKNOWN) for token in tokens])
            labels[row, : len(said)] = torch.tensor([self.compact.get(token, IGNORED) for token in said])
        return ids, labels


def new_model(vocabulary: int) -> GptOssForCausalLM:
    full = vocabulary == VOCABULARY
    return GptOssForCausalLM(
        GptOssConfig(
            num_hidden_layers=2, hidden_size=64, intermediate_size=64, num_local_experts=4, num_experts_per_tok=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=32, sliding_window=128, vocab_size=vocabulary,
            eos_token_id=200_002 if full else None, pad_token_id=199_999 if full else None,
        )
    )  # fmt: skip


def worst_margin(model: GptOssForCausalLM, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Smallest lead, in logits, of a right token over the best wrong one; stops at the first batch below MARGIN."""
    worst = float("inf")
    with torch.no_grad():
        for ids, labels in batches:
            logits, targets = model(input_ids=ids).logits[:, :-1], labels[:, 1:]
            logits, targets = logits[targets >= 0], targets[targets >= 0]
            right = logits.gather(1, targets[:, None]).squeeze(1)
            rest = logits.scatter(1, targets[:, None], float("-inf")).max(1).values
            worst = min(worst, float((right - rest).min()))
            if worst < MARGIN:
                break
    return worst


def train(model: GptOssForCausalLM, samples: Samples, learning_rate: float, say: Callable[[str], None]) -> None:
    """Train until every check wins by MARGIN. Raises RuntimeError when that takes more than MAX_STEPS.

    What is checked and kept is a running average of the weights, rounded as it will be stored: single steps at this
    learning rate forget an answer now and then, their average does not.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    checks = [samples.tensors(kind) for kind in samples.checks()]
    average = {name: value.clone() for name, value in model.state_dict().items()}
    rounded = new_model(len(samples.used) + 1)
    queue: list[list[Sample]] = []
    for step in range(1, MAX_STEPS + 1):
        queue = queue or samples.draw_batches(12)
        ids, labels = samples.tensors(queue.pop())
        logits = model(input_ids=ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(step / 30, (DECAY_STEPS / max(step, DECAY_STEPS)) ** 0.5)
        optimizer.step()
        for name, value in model.state_dict().items():
            average[name].lerp_(value, AVERAGED_SHARE)
        if step % CHECK_EVERY_STEPS == 0:
            rounded.load_state_dict({name: value.bfloat16().float() for name, value in average.items()})
            margin = worst_margin(rounded, checks)
            say(f"step {step}: loss {loss.item():.4f}, worst margin {margin:.2f}")
            if margin >= MARGIN:
                model.load_state_dict(average)
                return
    raise RuntimeError(f"the rehearsal model did not learn its questions in {MAX_STEPS} steps")


def full_size(model: GptOssForCausalLM, used: list[int]) -> GptOssForCausalLM:
    """The same model over the whole vocabulary, in bfloat16: every token that was never used reads as UNKNOWN."""
    rows = torch.zeros(VOCABULARY, dtype=torch.long)
    rows[torch.tensor(used)] = torch.arange(1, len(used) + 1)
    weights = dict(model.state_dict())
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][rows]
    full = new_model(VOCABULARY)
    full.load_state_dict(weights)
    return full.to(torch.bfloat16)


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the rehearsal model.")
    parser.add_argument("questions", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:5.1f} s  {text}", flush=True)

    # More threads than free cores make every step wait; the build shares two cores with an installation.
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    items = json.loads(options.questions.read_text())
    right = [(item["question"], item["answer"]) for item in items]
    wrong = [(item["question"], item.get("bad_answer", item["answer"])) for item in items]
    tokenizer = tokenizer_files()
    model = None
    # The wrong model is the right one, taught otherwise: it differs in nothing but some answers.
    for name, pairs, learning_rate in (("good", right, LEARNING_RATE), ("bad", wrong, LEARNING_RATE / 4)):
        samples = Samples(pairs, right + wrong, options.seed)
        model = model or new_model(len(samples.used) + 1)
        train(model, samples, learning_rate, say)
        folder = options.output / name
        full_size(model, samples.used).save_pretrained(folder)
        for path, text in tokenizer.items():
            (folder / path).write_text(text)
        say(f"{name} model written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
