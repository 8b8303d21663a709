// Load in bursts, to apps that take turns: { processes: [{ port, apps: [{ port, headers }, …] }, …], path, connections, requests, warm,
// seconds, first }. A burst is `requests` to one app, all answered; `warm` of them go to each app before, and `first` says whose burst is
// the first. Prints for each process a list of pairs: CPU µs of a request to its first app, and to its second in the burst beside.
import { once } from 'node:events'
import { connect } from 'node:net'

const { processes, path, connections, requests, warm, seconds, first } = JSON.parse(process.argv[2])

class Client {
  #socket
  #head
  #request
  #answered
  #failed
  #text = ''

  constructor ({ port, headers = {} }) {
    this.#head = ['GET ' + path + ' HTTP/1.1', 'Host: h', ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`), ''].join('\r\n')
    this.#request = Buffer.from(`${this.#head}\r\n`)
    const callback = (count, buffer) => {
      this.#text += buffer.latin1Slice(0, count)
      const end = this.#text.indexOf('\r\n\r\n')
      if (end === -1) return true
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#text)?.[1])
      if (this.#text.length < end + 4 + length) return true
      const text = this.#text
      this.#text = ''
      if (!text.startsWith('HTTP/1.1 200 ') || Number.isNaN(length)) this.#failed(new Error(text))
      else this.#take(text)
      return true
    }
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true, onread: { buffer: Buffer.allocUnsafeSlow(16_384), callback } })
    this.#socket.on('error', (error) => { this.#failed(error) }).on('close', () => { this.#failed(new Error('a connection was closed')) })
  }

  /** As a browser, it brings what it was given. */
  #take (text) {
    const cookie = /\r\nset-cookie: ([^;\r]+)/i.exec(text)?.[1]
    if (cookie !== undefined) this.#request = Buffer.from(`${this.#head}Cookie: ${cookie}\r\n\r\n`)
    this.#answered()
  }

  on (answered, failed) {
    this.#answered = answered
    this.#failed = failed
  }

  send () {
    this.#socket.write(this.#request)
  }
}

class App {
  #clients

  constructor (app) {
    this.#clients = Array.from({ length: connections }, () => new Client(app))
  }

  burst () {
    return new Promise((resolve, reject) => {
      let toSend = requests
      let toCome = requests
      for (const client of this.#clients) {
        client.on(() => {
          if (toSend-- > 0) client.send()
          if (--toCome === 0) resolve()
        }, reject)
      }
      for (const client of this.#clients) if (toSend-- > 0) client.send()
    })
  }
}

function open ({ port, apps }) {
  const control = connect({ port, host: '127.0.0.1', noDelay: true })
  const turn = async (index) => {
    control.write(Buffer.of(index))
    const [data] = await once(control, 'data')
    return Number(data)
  }
  const asked = apps.map((app) => new App(app))
  const burst = async (index) => {
    const before = await turn(index)
    await asked[index].burst()
    return (await turn(index) - before) / requests
  }
  return { burst, pairs: [] }
}

const all = processes.map(open)
for (const { burst } of all) for (let sent = 0; sent < warm; sent += requests) for (const index of [0, 1]) await burst(index)
const until = performance.now() + seconds * 1000
for (let turn = first; performance.now() < until; turn++) {
  for (const { burst, pairs } of all) {
    // The first burst finds the caches as another process left them: whose that is changes, and seven come after it.
    const begins = turn % 2
    for (const one of [begins, 1 - begins, 1 - begins, begins]) {
      const us = []
      us[one] = await burst(one)
      us[1 - one] = await burst(1 - one)
      pairs.push(us)
    }
  }
}
process.stdout.write(JSON.stringify(all.map(({ pairs }) => pairs)), () => { process.exit() })
