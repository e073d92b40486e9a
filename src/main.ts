/** The process of `npm start`. */
import { serve } from './serve.ts';

process.exitCode = await serve();
