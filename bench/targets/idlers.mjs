// Opens connections, has one answer on each, and keeps them; prints how many there are.
import { connect } from 'node:net'

const { port, count } = JSON.parse(process.argv[2])
const sockets = []
const open = () => new Promise((resolve) => {
  const socket = connect(port, '127.0.0.1', () => { socket.write('GET /small HTTP/1.1\r\nHost: h\r\n\r\n') })
  socket.once('data', () => {
    sockets.push(socket)
    resolve()
  })
  socket.on('error', resolve).on('close', resolve)
})
for (let i = 0; i < count; i += 100) await Promise.all(Array.from({ length: Math.min(100, count - i) }, open))
console.log(sockets.length)
setInterval(() => {}, 1000)
