// Upgraded connections that send a message and wait for its echo, for some seconds; prints how many came back.
import { connect } from 'node:net'

const { port, size, connections, seconds } = JSON.parse(process.argv[2])
const message = Buffer.alloc(size, 'x')
let echoes = 0
let over = false
setTimeout(() => { over = true }, seconds * 1000)
await Promise.all(Array.from({ length: connections }, () => new Promise((resolve, reject) => {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true }, () => {
    socket.write('GET /echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')
  })
  let head = ''
  let left = 0
  const send = () => {
    if (over) return socket.destroy()
    left = size
    socket.write(message)
  }
  socket.on('error', reject).on('close', resolve)
  socket.on('data', (data) => {
    if (left === 0) {
      head += data.toString('latin1')
      if (!head.includes('\r\n\r\n')) return
      if (!head.startsWith('HTTP/1.1 101 ')) return socket.destroy(new Error(head))
      return send()
    }
    left -= data.length
    if (left > 0) return
    echoes++
    send()
  })
})))
console.log(echoes)
