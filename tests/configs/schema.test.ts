/** The schema that editors read says the same as the one that runs are checked by, and explains every key. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { runConfigJsonSchema, type SchemaNode } from "../../configs/jsonSchema";

const schema = runConfigJsonSchema();

function keysOf(node: SchemaNode, path = ""): [string, SchemaNode][] {
  return Object.entries(node.properties ?? {}).flatMap(([key, child]) => [
    [`${path}${key}`, child] as [string, SchemaNode],
    ...keysOf(child, `${path}${key}.`),
  ]);
}

test("configs/run.schema.json is not stale", () => {
  const file = resolve(__dirname, "../../configs/run.schema.json");
  expect(JSON.parse(readFileSync(file, "utf8"))).toEqual(JSON.parse(JSON.stringify(schema)));
});

test("every key says what it means, and its default if it has one", () => {
  const keys = keysOf(schema);
  expect(keys.length).toBeGreaterThan(30);
  for (const [path, node] of keys) {
    expect(node.description, path).toMatch(/\w.*\.$/s);
    const isValue = node.properties === undefined;
    if (isValue) expect(node.description, path).toMatch(/default|required|needed/i);
  }
});

test("a misspelt key is an error in an editor, too", () => {
  const blocks = [schema, ...keysOf(schema).map(([, node]) => node)].filter((node) => node.properties);
  expect(blocks.length).toBeGreaterThan(6);
  for (const block of blocks) expect(block["additionalProperties"]).toBe(false);
});
