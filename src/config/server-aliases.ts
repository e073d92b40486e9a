/** Other spellings of a tool server's keys, as the published schemas of server entries have them, read as the gateway's own. */
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';

/**
 * `fields` with `endpoint` as `url`, and `tags` that are a map as a list of `name=value`. What cannot be said otherwise
 * without guessing stays, for whoever reads the entry to refuse.
 */
export function plainServerFields(fields: JsonObject): JsonObject {
  const { endpoint, ...others } = fields;
  const addressed = endpoint === undefined || others['url'] !== undefined ? fields : { ...others, url: endpoint };
  const tags = addressed['tags'];
  const list = isJsonObject(tags) ? tagsOf(tags) : undefined;
  return list === undefined ? addressed : { ...addressed, tags: list };
}

function tagsOf(tags: JsonObject): JsonValue | undefined {
  const list = Object.entries(tags).map(([name, value]) => {
    if (value === true || value === '') return name;
    return typeof value === 'string' || typeof value === 'number' ? `${name}=${value}` : undefined;
  });
  return list.every((tag) => tag !== undefined) ? list : undefined;
}
