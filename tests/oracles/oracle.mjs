// Asks tools that nobody here wrote; a line in, "ok" or "no" out. See tests/oracles/test_oracles.py.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.argv[2]}/package.json`);
const { verifyMerkleInclusion } = require("@sigstore/verify/dist/tlog/merkle.js");
const { ml_dsa44 } = await import(require.resolve("@noble/post-quantum/ml-dsa.js"));

const bytes = (text) => Buffer.from(text, "base64");
const asked = {
  inclusion({ index, size, leaf, path, root }) {
    const entry = { canonicalizedBody: bytes(leaf), inclusionProof: { logIndex: index, hashes: path.map(bytes) } };
    verifyMerkleInclusion(entry, { logSize: BigInt(size), logHash: bytes(root) });
    return true;
  },
  mldsa({ key, message, signature }) {
    return ml_dsa44.verify(bytes(signature), bytes(message), bytes(key));
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  let holds = false;
  try {
    holds = asked[question.ask](question);
  } catch {
    holds = false;
  }
  process.stdout.write(holds ? "ok\n" : "no\n");
}
