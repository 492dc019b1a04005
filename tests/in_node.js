// The logits of a graph model, as TensorFlow.js computes them:
//
//     node in_node.js cpu|wasm FOLDER IMAGES LOGITS SIZE SIZE SIZE SIZE
//
// IMAGES and LOGITS are files of float32 values, the sizes those of IMAGES.

const fs = require("fs");
const path = require("path");
const tf = require("@tensorflow/tfjs");
const wasm = require("@tensorflow/tfjs-backend-wasm");

const [backend, folder, images, logits, ...sizes] = process.argv.slice(2);

function bytes(...files) {
  return new Uint8Array(Buffer.concat(files.map((file) => fs.readFileSync(file))))
    .buffer;
}

async function main() {
  wasm.setWasmPaths(path.dirname(require.resolve("@tensorflow/tfjs-backend-wasm")) + "/");
  if (!(await tf.setBackend(backend))) throw new Error(`no backend ${backend}`);
  const { modelTopology, signature, weightsManifest } = JSON.parse(
    fs.readFileSync(path.join(folder, "model.json")),
  );
  const shards = weightsManifest.flatMap((group) => group.paths);
  const model = await tf.loadGraphModel(
    tf.io.fromMemory({
      modelTopology,
      signature,
      weightSpecs: weightsManifest.flatMap((group) => group.weights),
      weightData: bytes(...shards.map((shard) => path.join(folder, shard))),
    }),
  );
  const given = tf.tensor(new Float32Array(bytes(images)), sizes.map(Number));
  fs.writeFileSync(logits, await model.predict({ images: given }).data());
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
