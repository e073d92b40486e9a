/** Writes `openapi.json` anew: `npm run openapi:write`, after a change to the routes or their schemas. */
import { writeFileSync } from 'node:fs';
import { openApiFile, openApiText } from './openapi-document.ts';

writeFileSync(openApiFile, await openApiText());
console.log(`wrote ${openApiFile}`);
