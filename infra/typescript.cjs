/**
 * Runs a program that is written in TypeScript, made one script of: a second sooner than through tsx, which looks at
 * every file of every package, too. `node infra/typescript.cjs FILE ARGUMENT…`, or `run(file)` for what it exports.
 */
const Module = require("node:module");
const { dirname, resolve } = require("node:path");
const { buildSync } = require("esbuild");

exports.run = (file) => {
  const { outputFiles } = buildSync({
    entryPoints: [file],
    bundle: true,
    packages: "external",
    platform: "node",
    target: "node20",
    format: "cjs",
    sourcemap: "inline",
    write: false,
  });
  const script = new Module(file, module);
  script.filename = file;
  script.paths = Module._nodeModulePaths(dirname(file));
  script._compile(outputFiles[0].text, file);
  return script.exports;
};

if (require.main === module) exports.run(resolve(process.argv[2]));
