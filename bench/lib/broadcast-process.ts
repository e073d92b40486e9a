/** What streams are compared with: `ws` sending each line of a POST to everybody, without a log, a filter or a bound. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { WebSocketServer } from 'ws';

const server = createServer((request, response) => {
  void readText(request).then((body) => {
    for (const line of body.split('\n')) {
      const bytes = Buffer.from(line);
      for (const client of sockets.clients) client.send(bytes, { binary: false });
    }
    response.end('{}');
  });
});
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on('connection', (socket) => socket.once('message', () => socket.send('{"type":"init_ack"}')));
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit());
