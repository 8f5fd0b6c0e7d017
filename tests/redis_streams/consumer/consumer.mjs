// Reads the streams of events, coverage and verdicts, and checks each entry against the shipped schemas.
//
// Usage: node consumer.mjs URL SCHEMAS SECONDS ENTRIES
// It ends after ENTRIES valid entries of each stream, or after SECONDS, and prints one JSON document: how many
// entries of each kind are valid, and which are not. Exit code 1 if there is any that is not.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import Redis from 'ioredis';

const [url, schemas, seconds, entries] = process.argv.slice(2);
const ajv = new Ajv2020({ allErrors: true });
addFormats(ajv);
const check = (name) => ajv.compile(JSON.parse(readFileSync(join(schemas, `${name}.schema.json`), 'utf8')));

// The document of an entry: JSON in one field, or for coverage the fields themselves.
const streams = {
  'defects:events': { validate: check('event'), read: (fields) => JSON.parse(fields.event) },
  'defects:coverage': { validate: check('coverage'), read: (fields) => fields },
  'defects:verdicts': { validate: check('verdicts'), read: (fields) => JSON.parse(fields.verdicts) },
};

const redis = new Redis(url);
const last = Object.fromEntries(Object.keys(streams).map((stream) => [stream, '0']));
const valid = Object.fromEntries(Object.keys(streams).map((stream) => [stream, 0]));
const kinds = {};
const outcomes = {};
const invalid = [];

function take(stream, id, flat) {
  const fields = {};
  for (let at = 0; at < flat.length; at += 2) fields[flat[at]] = flat[at + 1];
  const { validate, read } = streams[stream];
  let document;
  try {
    document = read(fields);
  } catch (error) {
    invalid.push({ stream, id, errors: [String(error)] });
    return;
  }
  if (!validate(document)) {
    invalid.push({ stream, id, errors: validate.errors.map((each) => `${each.instancePath} ${each.message}`) });
    return;
  }
  valid[stream] += 1;
  if (document.kind) kinds[document.kind] = (kinds[document.kind] ?? 0) + 1;
  for (const { outcome } of document.verdicts ?? []) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}

const end = Date.now() + 1000 * Number(seconds);
while (Date.now() < end && Object.values(valid).some((count) => count < Number(entries))) {
  const names = Object.keys(streams);
  const replies = await redis.xread('COUNT', 100, 'BLOCK', 500, 'STREAMS', ...names, ...names.map((name) => last[name]));
  for (const [stream, found] of replies ?? []) {
    for (const [id, flat] of found) {
      last[stream] = id;
      take(stream, id, flat);
    }
  }
}
redis.disconnect();
console.log(JSON.stringify({ valid, kinds, outcomes, invalid }));
process.exitCode = invalid.length ? 1 : 0;
