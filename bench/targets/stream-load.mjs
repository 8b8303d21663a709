// Load for layer 4 from one process: { kind, port, seconds }. Prints how many units of work were done.
import { createSocket } from 'node:dgram'
import { connect } from 'node:net'

const { kind, port, seconds } = JSON.parse(process.argv[2])
const until = performance.now() + seconds * 1000
const finish = (count) => setTimeout(() => {
  console.log(count())
  process.exit()
}, seconds * 1000)
const message = Buffer.alloc(120, 'x')
let done = 0
switch (kind) {
  case 'connections': {
    const one = () => {
      if (performance.now() > until) return
      const socket = connect(port, '127.0.0.1', () => socket.write('x'))
      socket.on('data', () => {
        done++
        socket.destroy()
        one()
      })
      socket.on('error', () => one())
    }
    for (let i = 0; i < 32; i++) one()
    finish(() => done)
    break
  }
  case 'round trips': {
    for (let i = 0; i < 64; i++) {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true, onread: { buffer: Buffer.alloc(4096), callback: () => {
        done++
        socket.write(message)
        return true
      } } }, () => socket.write(message))
    }
    finish(() => done)
    break
  }
  case 'download': {
    for (let i = 0; i < 4; i++) {
      const socket = connect({ port, host: '127.0.0.1', onread: { buffer: Buffer.alloc(262_144), callback: (size) => {
        done += size
        return true
      } } }, () => socket.write('d'))
    }
    finish(() => done)
    break
  }
  case 'upload': {
    const piece = Buffer.alloc(262_144)
    const sockets = Array.from({ length: 4 }, () => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.write('u')
        const more = () => { while (socket.write(piece)); }
        socket.on('drain', more)
        more()
      })
      return socket
    })
    finish(() => sockets.reduce((sum, socket) => sum + socket.bytesWritten - socket.writableLength, 0))
    break
  }
  case 'udp': {
    for (let i = 0; i < 16; i++) {
      const socket = createSocket({ type: 'udp4', lookup: (host, _options, callback) => callback(null, host, 4) })
      let answered = 0
      const send = () => socket.send(message)
      socket.on('message', () => {
        done++
        answered++
        send()
      })
      // What is lost is sent again.
      let before = -1
      setInterval(() => {
        if (answered === before) for (let k = 0; k < 8; k++) send()
        before = answered
      }, 100)
      socket.connect(port, '127.0.0.1', () => { for (let k = 0; k < 8; k++) send() })
    }
    finish(() => done)
    break
  }
}
