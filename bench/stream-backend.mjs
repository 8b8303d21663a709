// What stands behind the proxies: prints the ports of a TCP echo, of a TCP server that sends or swallows volume, and of a UDP echo.
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'

const echo = createServer({ noDelay: true }, (socket) => {
  socket.on('data', (chunk) => socket.write(chunk))
  socket.on('error', () => {})
})
const piece = Buffer.alloc(262_144)
const bulk = createServer((socket) => {
  socket.on('error', () => {})
  // The first byte says which way.
  socket.once('data', (chunk) => {
    socket.on('data', () => {})
    if (chunk[0] !== 100) return
    const more = () => { while (!socket.destroyed && socket.write(piece)); }
    socket.on('drain', more)
    more()
  })
})
const udp = createSocket('udp4')
udp.on('message', (datagram, { port, address }) => udp.send(datagram, port, address))
for (const server of [echo, bulk]) {
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
  await once(server, 'listening')
}
udp.bind(0, '127.0.0.1')
await once(udp, 'listening')
console.log(`${echo.address().port} ${bulk.address().port} ${udp.address().port}`)
