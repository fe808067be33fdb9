// The folder of a release in transformers.js under node: each precision alone, in a batch and as a
// stream, and the tokenizer. Arguments: the library's folder, the model's, that with the material.
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const [packages, folder, material] = process.argv.slice(2);
const library = join(packages, "node_modules/@huggingface/transformers");
const { AutoModelForCausalLM, AutoTokenizer, Tensor, TextStreamer, env, pipeline } = await import(
  pathToFileURL(join(library, "dist/transformers.node.mjs")).href
);
env.allowRemoteModels = false;
env.localModelPath = dirname(folder) + "/";
const name = basename(folder);
const { version } = JSON.parse(readFileSync(join(library, "package.json")));
const title = `transformers.js ${version.split(".").slice(0, 2).join(".")}`;

const PRECISIONS = ["fp32", "fp16", "q8"];
const PROMPTS = ["京都は", "日本の歴史は、長い。", "富士山"];
const GREEDY = { do_sample: false, max_new_tokens: 16 };
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const tell = (row) => console.log("RESULT " + JSON.stringify(row));

function require(holds, what) {
  if (!holds) throw new Error(`${title}: ${what}`);
}

async function continued(model, prompt, count) {
  const shape = [1, prompt.length];
  const inputs = {
    input_ids: new Tensor("int64", BigInt64Array.from(prompt.map(BigInt)), shape),
    attention_mask: new Tensor("int64", new BigInt64Array(prompt.length).fill(1n), shape),
  };
  const how = { do_sample: false, max_new_tokens: count, eos_token_id: null };
  const ids = await model.generate({ ...inputs, ...how });
  return ids.tolist()[0].slice(prompt.length).map(Number);
}

// A tokenizer with a space before each text takes one from what is streamed after a prompt.
const strips = readFileSync(join(folder, "tokenizer.json"), "utf-8").includes('"Strip"');
const shown = (text) => (strips ? text.replaceAll(" ", "") : text);

async function batchedAndStreamed(dtype, tokenizer) {
  const generate = await pipeline("text-generation", name, { dtype });
  const together = await generate(PROMPTS, GREEDY);
  for (const [number, prompt] of PROMPTS.entries()) {
    let streamed = prompt;
    const streamer = new TextStreamer(tokenizer, {
      skip_prompt: true,
      skip_special_tokens: true,
      callback_function: (text) => (streamed += text),
    });
    const [alone] = await generate(prompt, { ...GREEDY, streamer });
    const found = together[number][0].generated_text;
    require(found === alone.generated_text, `${dtype}: ${prompt} goes on otherwise in a batch`);
    require(shown(streamed) === shown(alone.generated_text), `${dtype}: ${prompt} is streamed as ${streamed}`);
  }
}

const tokenizer = await AutoTokenizer.from_pretrained(name);
const { prompts, greedy } = JSON.parse(readFileSync(join(material, "prompts.json")));
for (const dtype of PRECISIONS) {
  const model = await AutoModelForCausalLM.from_pretrained(name, { dtype });
  let equal = 0;
  for (const [number, prompt] of prompts.entries()) {
    equal += same(await continued(model, prompt, greedy[number].length), greedy[number]);
  }
  // what others than fp32 prefer is told, not judged
  require(dtype !== "fp32" || equal === prompts.length, "fp32 prefers other tokens than PyTorch");
  await batchedAndStreamed(dtype, tokenizer);
  tell({ format: `${title}: ${dtype}, alone, in a batch, streamed`, runs: `${equal} of ${prompts.length}` });
}

const rows = JSON.parse(readFileSync(join(material, "awkward.json")));
const wrong = rows.filter(({ text, ids }) => {
  const found = Array.from(tokenizer.encode(text, { add_special_tokens: false }), Number);
  return !same(found, ids);
});
const odd = wrong.filter((row) => !row.bytes && !row.special && !row.joins);
require(!odd.length, `other ids without a byte piece, a special token or a joiner: ${JSON.stringify(odd[0])}`);
tell({ format: `${title}: awkward texts`, texts: rows.length, texts_equal: rows.length - wrong.length,
  explained: wrong.length });
