// Switches protocols and sends back what comes.
import { createServer } from 'node:http'

const server = createServer((_request, response) => { response.end() })
server.on('upgrade', (_request, socket, head) => {
  socket.on('error', () => {})
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  socket.write(head)
  socket.pipe(socket)
})
server.listen(0, '127.0.0.1', () => { console.log(server.address().port) })
