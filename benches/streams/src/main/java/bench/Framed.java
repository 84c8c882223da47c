package bench;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.function.Supplier;
import org.apache.avro.Schema;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.specific.SpecificDatumReader;
import org.apache.avro.specific.SpecificDatumWriter;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;

/**
 * A value on the wire: a zero byte, the schema's id, Avro binary. Readers, writers, encoders and decoders are made once
 * for each instance and used again; every stream thread has instances of its own.
 */
final class Framed {
    private Framed() {}

    static <T extends SpecificRecord> Serde<T> serde(Schema schema, int id) {
        return Serdes.serdeFrom(new Out<>(schema, id), new In<>(schema));
    }

    static final class Out<T extends SpecificRecord> implements Serializer<T> {
        private final Schema schema;
        private final int id;
        private final Supplier<State> states = State::new;
        private final ThreadLocal<State> state = ThreadLocal.withInitial(states);

        Out(Schema schema, int id) {
            this.schema = schema;
            this.id = id;
        }

        private final class State {
            final SpecificDatumWriter<T> writer = new SpecificDatumWriter<>(schema);
            final ByteArrayOutputStream bytes = new ByteArrayOutputStream(2048);
            BinaryEncoder encoder;
        }

        @Override
        public byte[] serialize(String topic, T value) {
            if (value == null) {
                return null;
            }
            State own = state.get();
            own.bytes.reset();
            own.bytes.write(0);
            own.bytes.writeBytes(ByteBuffer.allocate(4).putInt(id).array());
            own.encoder = EncoderFactory.get().binaryEncoder(own.bytes, own.encoder);
            try {
                own.writer.write(value, own.encoder);
                own.encoder.flush();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            return own.bytes.toByteArray();
        }
    }

    static final class In<T extends SpecificRecord> implements Deserializer<T> {
        private final Schema schema;
        private final ThreadLocal<State> state = ThreadLocal.withInitial(State::new);

        In(Schema schema) {
            this.schema = schema;
        }

        private final class State {
            final SpecificDatumReader<T> reader = new SpecificDatumReader<>(schema);
            BinaryDecoder decoder;
        }

        @Override
        public T deserialize(String topic, byte[] bytes) {
            if (bytes == null) {
                return null;
            }
            State own = state.get();
            own.decoder = DecoderFactory.get().binaryDecoder(bytes, 5, bytes.length - 5, own.decoder);
            try {
                return own.reader.read(null, own.decoder);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }
}
