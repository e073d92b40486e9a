/** The asking tool server over stdio. */
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { askingServer } from './asking-server.ts';

await askingServer({ calls: [], cancelled: [], offers: [] }).connect(new StdioServerTransport());
