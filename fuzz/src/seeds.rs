//! Small valid files.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A tensor's name, type and sizes (slowest first); the types are those of safetensors.
pub type Tensor = (String, &'static str, Vec<usize>);

/// A model of one layer, width 4 and six tokens.
pub fn tiny_config() -> Value {
    json!({"model_type": "llama", "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 2, "intermediate_size": 4, "vocab_size": 6,
        "max_position_embeddings": 8, "tie_word_embeddings": true})
}

/// Its tensors.
pub fn tiny_tensors(dtype: &'static str) -> Vec<Tensor> {
    let layer = |part: &str| format!("model.layers.0.{part}.weight");
    let named = [
        ("model.embed_tokens.weight".to_owned(), vec![6, 4]),
        (layer("self_attn.q_proj"), vec![4, 4]),
        (layer("self_attn.k_proj"), vec![2, 4]),
        (layer("self_attn.v_proj"), vec![2, 4]),
        (layer("self_attn.o_proj"), vec![4, 4]),
        (layer("mlp.gate_proj"), vec![4, 4]),
        (layer("mlp.up_proj"), vec![4, 4]),
        (layer("mlp.down_proj"), vec![4, 4]),
        (layer("input_layernorm"), vec![4]),
        (layer("post_attention_layernorm"), vec![4]),
        ("model.norm.weight".to_owned(), vec![4]),
    ];
    named.into_iter().map(|(name, shape)| (name, dtype, shape)).collect()
}

/// A safetensors file of these tensors; its numbers are small and not all the same.
pub fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let (mut header, mut data) = (BTreeMap::new(), Vec::new());
    for (name, dtype, shape) in tensors {
        let start = data.len();
        for i in 0..shape.iter().product() {
            let number = (0.5 - (i % 7) as f32 / 8.0).to_le_bytes();
            // The upper half of an f32 is a bf16.
            data.extend_from_slice(if *dtype == "F32" { &number } else { &number[2..] });
        }
        header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let mut header = json!(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// Inputs of the target `safetensors`.
pub fn for_safetensors() -> Vec<Vec<u8>> {
    let mut llama3 = tiny_config();
    llama3["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8});
    let mut mistral = tiny_config();
    mistral["model_type"] = json!("mistral");
    mistral["sliding_window"] = json!(2);
    let models = [(tiny_config(), "F32"), (llama3, "BF16"), (mistral, "F16")];
    let with = |config: &str, file: Vec<u8>| [config.as_bytes(), b"\0", &file].concat();
    let mut seeds: Vec<_> = models
        .into_iter()
        .map(|(config, dtype)| with(&config.to_string(), safetensors(&tiny_tensors(dtype))))
        .collect();
    seeds.push(with("", safetensors(&[("t".into(), "F32", vec![2, 3])])));
    seeds.push(with("", safetensors(&[("t".into(), "F16", vec![3]), ("u".into(), "BF16", vec![])])));
    seeds
}

/// A GGUF file under way.
struct GgufFile {
    pairs: Vec<u8>,
    pair_count: u64,
}

impl GgufFile {
    fn key(&mut self, key: &str, type_id: u32) -> &mut Vec<u8> {
        self.pair_count += 1;
        text(&mut self.pairs, key);
        self.pairs.extend(type_id.to_le_bytes());
        &mut self.pairs
    }
    fn number(&mut self, key: &str, number: u32) {
        self.key(key, 4).extend(number.to_le_bytes());
    }
    fn float(&mut self, key: &str, number: f32) {
        self.key(key, 6).extend(number.to_le_bytes());
    }
    fn text(&mut self, key: &str, value: &str) {
        text(self.key(key, 8), value);
    }
    fn texts(&mut self, key: &str, values: &[&str]) {
        let bytes = self.key(key, 9);
        bytes.extend(8u32.to_le_bytes());
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| text(bytes, value));
    }
    fn numbers(&mut self, key: &str, values: &[i32]) {
        let bytes = self.key(key, 9);
        bytes.extend(5u32.to_le_bytes());
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    }

    /// The file; of each tensor the name, ggml's type, the sizes (fastest first) and the bytes.
    fn finish(self, tensors: &[(&str, u32, &[u64], Vec<u8>)]) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((tensors.len() as u64).to_le_bytes());
        file.extend(self.pair_count.to_le_bytes());
        file.extend(self.pairs);
        let mut data: Vec<u8> = Vec::new();
        for (name, type_id, sizes, bytes) in tensors {
            text(&mut file, name);
            file.extend((sizes.len() as u32).to_le_bytes());
            sizes.iter().for_each(|size| file.extend(size.to_le_bytes()));
            file.extend(type_id.to_le_bytes());
            file.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// The sizes of [`tiny_config`], of this architecture.
fn tiny_header(architecture: &str, pre: &str) -> GgufFile {
    let mut file = GgufFile { pairs: Vec::new(), pair_count: 0 };
    file.text("general.architecture", architecture);
    for (key, number) in [
        ("block_count", 1),
        ("context_length", 8),
        ("embedding_length", 4),
        ("feed_forward_length", 4),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 2),
        ("vocab_size", 6),
    ] {
        file.number(&format!("{architecture}.{key}"), number);
    }
    file.float(&format!("{architecture}.rope.freq_base"), 1e4);
    file.float(&format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5);
    file.text("tokenizer.ggml.model", "gpt2");
    file.text("tokenizer.ggml.pre", pre);
    file.texts("tokenizer.ggml.tokens", &["<|im_end|>", "t", "h", "e", "th", "the"]);
    file.numbers("tokenizer.ggml.token_type", &[3, 1, 1, 1, 1, 1]);
    file.texts("tokenizer.ggml.merges", &["t h", "th e"]);
    file.number("tokenizer.ggml.eos_token_id", 0);
    file.text("tokenizer.chat_template", "{% for m in messages %}{{ m.role + m['content'] }}{% endfor %}");
    file
}

/// A tensor in a file: name, ggml's type, sizes (fastest first), bytes.
type Stored = (&'static str, u32, &'static [u64], Vec<u8>);

/// Tensors of f32 numbers.
fn f32s<const N: usize>(tensors: [(&'static str, &'static [u64]); N]) -> Vec<Stored> {
    let numbers =
        |sizes: &[u64]| (0..sizes.iter().product()).flat_map(|i: u64| (i as f32 / 64.0).to_le_bytes()).collect();
    tensors.into_iter().map(|(name, sizes)| (name, 0, sizes, numbers(sizes))).collect()
}

/// What every one of these models has.
fn common() -> Vec<Stored> {
    f32s([
        ("token_embd.weight", &[4, 6]),
        ("output_norm.weight", &[4]),
        ("blk.0.attn_norm.weight", &[4]),
        ("blk.0.ffn_norm.weight", &[4]),
        ("blk.0.attn_output.weight", &[4, 4]),
    ])
}

/// The model of [`tiny_config`] with a tokenizer and a template.
fn tiny_gguf(pre: &str, rope_factors: bool) -> Vec<u8> {
    let mut tensors = common();
    tensors.extend(f32s([
        ("blk.0.attn_q.weight", &[4, 4]),
        ("blk.0.ffn_gate.weight", &[4, 4]),
        ("blk.0.ffn_up.weight", &[4, 4]),
        ("blk.0.ffn_down.weight", &[4, 4]),
    ]));
    tensors.push(("blk.0.attn_k.weight", 1, &[4, 2], vec![0; 16]));
    tensors.push(("blk.0.attn_v.weight", 30, &[4, 2], vec![0; 16]));
    if rope_factors {
        tensors.push(("rope_freqs.weight", 0, &[1], 1f32.to_le_bytes().to_vec()));
    }
    tiny_header("llama", pre).finish(&tensors)
}

/// Models of other architectures: norms on both sides, a window and caps; joined matrices and long factors; experts, with q, k and
/// v in one.
fn tiny_others() -> [Vec<u8>; 3] {
    let mut gemma2 = tiny_header("gemma2", "gpt-2");
    gemma2.float("gemma2.attn_logit_softcapping", 50.0);
    gemma2.number("gemma2.attention.sliding_window", 2);
    let mut tensors = common();
    tensors.extend(f32s([
        ("blk.0.post_attention_norm.weight", &[4]),
        ("blk.0.post_ffw_norm.weight", &[4]),
        ("blk.0.attn_q.weight", &[4, 4]),
        ("blk.0.attn_k.weight", &[4, 2]),
        ("blk.0.attn_v.weight", &[4, 2]),
        ("blk.0.ffn_gate.weight", &[4, 4]),
        ("blk.0.ffn_up.weight", &[4, 4]),
        ("blk.0.ffn_down.weight", &[4, 4]),
    ]));
    let gemma2 = gemma2.finish(&tensors);

    let mut phi3 = tiny_header("phi3", "gpt-2");
    phi3.number("phi3.rope.dimension_count", 2);
    phi3.number("phi3.rope.scaling.original_context_length", 4);
    phi3.float("phi3.rope.scaling.attn_factor", 1.25);
    let mut tensors = common();
    tensors.extend(f32s([
        ("blk.0.attn_qkv.weight", &[4, 8]),
        ("blk.0.ffn_up.weight", &[4, 8]),
        ("blk.0.ffn_down.weight", &[4, 4]),
        ("rope_factors_short.weight", &[1]),
        ("rope_factors_long.weight", &[1]),
    ]));
    // Factors are positive.
    tensors.iter_mut().rev().take(2).for_each(|factors| factors.3 = 1.5f32.to_le_bytes().to_vec());
    let phi3 = phi3.finish(&tensors);

    let mut mixtral = tiny_header("llama", "gpt-2");
    mixtral.number("llama.expert_count", 2);
    mixtral.number("llama.expert_used_count", 1);
    let mut tensors = common();
    tensors.extend(f32s([
        ("blk.0.attn_qkv.weight", &[4, 8]),
        ("blk.0.ffn_gate_inp.weight", &[4, 2]),
        ("blk.0.ffn_gate_exps.weight", &[4, 4, 2]),
        ("blk.0.ffn_up_exps.weight", &[4, 4, 2]),
        ("blk.0.ffn_down_exps.weight", &[4, 4, 2]),
    ]));
    [gemma2, phi3, mixtral.finish(&tensors)]
}

/// Inputs of the target `gguf`.
pub fn for_gguf() -> Vec<Vec<u8>> {
    let blocks = [("q8_0", 8, 34), ("q4_0", 2, 18), ("q4_1", 3, 20), ("q5_0", 6, 22), ("q5_1", 7, 24)];
    let super_blocks = [("q2_k", 10, 84), ("q3_k", 11, 110), ("q4_k", 12, 144), ("q5_k", 13, 176), ("q6_k", 14, 210)];
    let blocks = blocks.map(|block| (block, &[32, 2][..], 2));
    let super_blocks = super_blocks.map(|block| (block, &[256, 1][..], 1));
    let tensor =
        |((name, type_id, bytes), sizes, rows)| (name, type_id, sizes, (0..rows * bytes).map(|i| i as u8).collect());
    let blocks: Vec<(&str, u32, &[u64], Vec<u8>)> = blocks.into_iter().chain(super_blocks).map(tensor).collect();
    let mut every_kind = GgufFile { pairs: Vec::new(), pair_count: 0 };
    for (type_id, bytes) in
        [(0u32, 1usize), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 1), (10, 8), (11, 8), (12, 8)]
    {
        every_kind.key(&format!("one{type_id}"), type_id).extend(vec![1; bytes]);
        let array = every_kind.key(&format!("two{type_id}"), 9);
        array.extend(type_id.to_le_bytes());
        array.extend(2u64.to_le_bytes());
        array.extend(vec![1; 2 * bytes]);
    }
    let mut seeds: Vec<_> =
        ["smollm", "llama-bpe", "qwen2", "gpt-2"].into_iter().map(|pre| tiny_gguf(pre, pre == "llama-bpe")).collect();
    seeds.push(every_kind.finish(&blocks));
    seeds.extend(tiny_others());
    seeds
}

/// Rows of every kind, as objects of JSON.
const ROWS: [&str; 12] = [
    r#"{"input_ids":[1,2,3,4],"labels":[-100,2,3,4]}"#,
    r#"{"input_ids":[5,6,7]}"#,
    r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#,
    r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"<think>d</think>\n\ne"}]}"#,
    r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"type":"function","function":{"name":"f","arguments":{"x":1}}}]},{"role":"tool","content":"2"},{"role":"assistant","content":"b"}],"tools":[{"type":"function","function":{"name":"f","parameters":{}}}]}"#,
    r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"r"}],"tools":"[]"}"#,
    r#"{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}"#,
    r#"{"prompt":[{"role":"user","content":"a"}],"completion":[{"role":"assistant","content":"b"}]}"#,
    r#"{"prompt":"one and ","completion":"two"}"#,
    r#"{"prompt":"Is it ","completion":"so","choices":["so","not so"]}"#,
    r#"{"instruction":"do {input}","input":"it","output":"done"}"#,
    r#"{"text":"Größe 12\u00e9 \ud83d\ude00"}"#,
];

/// Tables of such rows.
const TABLES: [&str; 5] = [
    "text\nabc\n\"a \"\"b\"\",\nc\"\n",
    "prompt,completion,choices\na,b,\"[\"\"b\"\",\"\"c\"\"]\"\n",
    "instruction,input,output\r\na,,b\r\n",
    "messages\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"a\"\"},{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"b\"\"}]\"\n",
    "\u{feff}input_ids,labels\n\"[1,2]\",\"[-100,2]\"\n",
];

/// Inputs of the target `data`: each row as a file with several of the ways to read it, all of them as one, and tables.
pub fn for_data() -> Vec<Vec<u8>> {
    let with = |how: u8, file: &str| [&[how], file.as_bytes()].concat();
    let mut seeds = Vec::new();
    for (row, template) in ROWS.iter().zip((0..5).cycle()) {
        seeds.push(with(16 * template, row));
        seeds.push(with(16 * ((template + 2) % 5) + 2, row));
    }
    for how in [0, 16, 36, 80] {
        seeds.push(with(how, &ROWS.join("\n")));
    }
    seeds.extend(TABLES.iter().zip([1, 3, 17, 33, 9]).map(|(table, how)| with(how, table)));
    seeds
}
