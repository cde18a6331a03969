/** What `pulumi up` starts. */
const { join } = require("node:path");
const { run } = require("./typescript.cjs");

module.exports = run(join(__dirname, "index.ts"));
