package bench;

import consign.Arrival;
import consign.DispatchAttempt;
import consign.FileHistory;
import consign.FileState;
import consign.Outcome;
import consign.PlannedDispatch;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StreamPartitioner;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.apache.kafka.streams.state.Stores;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;

/** The join as a Kafka Streams application. Runs until its standard input ends. */
public final class Join {
    private Join() {}

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int at = 0; at + 1 < arguments.length; at += 2) {
            options.put(arguments[at].substring(2), arguments[at + 1]);
        }
        String prefix = options.get("prefix");
        Topology topology = topology(prefix, options.get("out"));
        KafkaStreams streams = new KafkaStreams(topology, settings(options));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse
                .SHUTDOWN_APPLICATION;
        });
        streams.start();
        while (System.in.read() >= 0) {
            // Whatever the driver says, only its end matters.
        }
        streams.close();
    }

    private static Topology topology(String prefix, String out) {
        var arrivals = Framed.<Arrival>serde(Arrival.getClassSchema(), 0);
        var plans = Framed.<PlannedDispatch>serde(PlannedDispatch.getClassSchema(), 0);
        var attempts = Framed.<DispatchAttempt>serde(DispatchAttempt.getClassSchema(), 0);
        var outcomes = Framed.<Outcome>serde(Outcome.getClassSchema(), 0);
        var files = Framed.<FileState>serde(FileState.getClassSchema(), 0);
        var history = Framed.<FileHistory>serde(FileHistory.getClassSchema(), 0);
        var key = new StringDeserializer();
        // The place of a file's records is that of the file, whatever their keys are.
        StreamPartitioner<String, FileHistory> home = (topic, name, value, partitions) -> {
            byte[] id = value.getFileId().getBytes(StandardCharsets.UTF_8);
            return Optional.of(Set.of(Utils.toPositive(Utils.murmur2(id)) % partitions));
        };
        return new Topology()
            .addSource("arrivals", key, arrivals.deserializer(), prefix + "arrivals")
            .addSource("plans", key, plans.deserializer(), prefix + "plans")
            .addSource("attempts", key, attempts.deserializer(), prefix + "attempts")
            .addSource("outcomes", key, outcomes.deserializer(), prefix + "outcomes")
            .addProcessor("fold", Fold::new, "arrivals", "plans", "attempts", "outcomes")
            // file-state is the changelog of this store: one record of a file for each commit, or cache eviction.
            .addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(Fold.FILES), Serdes.String(), files)
                .withCachingEnabled(), "fold")
            .addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(Fold.PLANS), Serdes.String(), plans)
                .withCachingEnabled(), "fold")
            .addSink("history", out, new StringSerializer(), history.serializer(), home, "fold");
    }

    private static Properties settings(Map<String, String> options) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("group"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("kafka"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, options.get("state"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, options.getOrDefault("workers", "2"));
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, "1");
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        // Reports that are held back until every contestant has come to work hold nothing else back.
        settings.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, "-1");
        if ("true".equals(options.get("tuned"))) {
            settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
            settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
            settings.put(StreamsConfig.METRICS_RECORDING_LEVEL_CONFIG, "INFO");
            settings.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, Roomy.class);
            settings.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
            settings.put(StreamsConfig.producerPrefix("batch.size"), 256 << 10);
            settings.put(StreamsConfig.producerPrefix("buffer.memory"), 128L << 20);
            settings.put(StreamsConfig.consumerPrefix("max.poll.records"), 10_000);
            settings.put(StreamsConfig.consumerPrefix("fetch.min.bytes"), 64 << 10);
            settings.put(StreamsConfig.consumerPrefix("fetch.max.wait.ms"), 50);
            settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        }
        return settings;
    }

    /** RocksDB with one block cache for all stores, a filter, and larger write buffers. */
    public static final class Roomy implements RocksDBConfigSetter {
        private static final LRUCache CACHE = new LRUCache(128L << 20);
        private static final BloomFilter FILTER = new BloomFilter(10);

        @Override
        public void setConfig(String store, Options options, Map<String, Object> settings) {
            BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
            table.setBlockCache(CACHE);
            table.setFilterPolicy(FILTER);
            table.setCacheIndexAndFilterBlocks(false);
            options.setTableFormatConfig(table);
            options.setWriteBufferSize(32L << 20);
        }

        @Override
        public void close(String store, Options options) {
            // The cache and the filter are shared by all stores and live as long as the process.
        }
    }
}
