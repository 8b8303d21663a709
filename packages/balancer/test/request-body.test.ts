import { Readable } from 'node:stream'
import t from 'tap'
import type { Attempt } from '@headgate/core'
import { RequestBody } from '../src/request-body.ts'

t.test('what is there of a body is given at once, so that it leaves with the head', (t) => {
  const source = new Readable({ read () {} })
  source.push('abc')
  const body = new RequestBody(source, 6, { replayLimit: 100, bodyLimit: 100 }, { bodyProgress () {}, bodyTooLarge () {} })
  let sent = ''
  const attempt: Attempt = {
    write (chunk) {
      sent += chunk.toString()
      return true
    },
    end () { sent += '.' },
    resume () {},
    abort () {}
  }
  body.attach(attempt)
  t.equal(sent, 'abc')
  source.on('end', () => {
    t.equal(sent, 'abcdef.')
    t.end()
  })
  source.push('def')
  source.push(null)
})
