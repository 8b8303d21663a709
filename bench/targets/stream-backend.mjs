// What stands behind the layer 4 proxies: { kind: 'echo' | 'volume' | 'udp' }. Prints its port.
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'

const { kind } = JSON.parse(process.argv[2])
const listen = (server) => server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => { console.log(server.address().port) })

if (kind === 'udp') {
  const socket = createSocket({ type: 'udp4', lookup: (host, _options, callback) => callback(null, host, 4) })
  socket.on('message', (datagram, { port, address }) => { socket.send(datagram, port, address) })
  socket.bind(0, '127.0.0.1', () => { console.log(socket.address().port) })
} else if (kind === 'echo') {
  listen(createServer({ noDelay: true }, (socket) => {
    socket.on('data', (chunk) => { socket.write(chunk) })
    socket.on('error', () => {})
  }))
} else {
  const piece = Buffer.alloc(262_144)
  listen(createServer((socket) => {
    socket.on('error', () => {})
    // The first byte says which way.
    socket.once('data', (chunk) => {
      socket.on('data', () => {})
      if (chunk[0] !== 100) return
      const more = () => { while (!socket.destroyed && socket.write(piece)); }
      socket.on('drain', more)
      more()
    })
  }))
}
