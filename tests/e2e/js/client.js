// Uses OpenAI's client as a Node program does, and prints what it got as one JSON object.

import OpenAI from 'openai';

const [llm, embedder] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 });
const asked = {
  model: llm,
  messages: [{ role: 'user', content: 'Write three sentences about the city of Paris.' }],
  temperature: 0
};

const chat = await client.chat.completions.create(asked);

const pieces = [];
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  const text = chunk.choices[0].delta.content;
  if (text) {
    pieces.push(text);
  }
}

const schema = {
  type: 'object',
  properties: { capital: { enum: ['Paris', 'London'] } },
  required: ['capital'],
  additionalProperties: false
};
const structured = await client.chat.completions.create({
  ...asked,
  response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } }
});

const embeddings = await client.embeddings.create({ model: embedder, input: ['one', 'two'] });

const error = await client.models.retrieve('nothing').catch(reason => ({
  name: reason.constructor.name,
  status: reason.status,
  code: reason.code
}));

console.log(
  JSON.stringify({
    chat: chat.choices[0].message.content,
    pieces,
    structured: JSON.parse(structured.choices[0].message.content),
    vectors: embeddings.data.map(row => row.embedding),
    error
  })
);
