package bench;

import consign.Accountable;
import consign.Arrival;
import consign.Budget;
import consign.Cause;
import consign.Confirmation;
import consign.DispatchAttempt;
import consign.DispatchState;
import consign.FileHistory;
import consign.FileState;
import consign.HistoryEvent;
import consign.Judgement;
import consign.LastOutcome;
import consign.NextEvent;
import consign.NextEventKind;
import consign.Outcome;
import consign.OutcomeKind;
import consign.PlannedDispatch;
import consign.SettledBy;
import consign.State;
import consign.Status;
import java.util.ArrayList;
import java.util.List;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Folds arrivals, plans, attempts and outcomes into one file-state for each file, and forwards an event of its history for
 * each outcome. It does for reports of success what the engine does, and nothing of the rest: no timers, no retries, no
 * judgement of what comes late.
 */
final class Fold implements Processor<String, SpecificRecord, String, FileHistory> {
    static final String FILES = "files";
    static final String PLANS = "plans";

    private ProcessorContext<String, FileHistory> context;
    private KeyValueStore<String, FileState> files;
    private KeyValueStore<String, PlannedDispatch> plans;

    @Override
    public void init(ProcessorContext<String, FileHistory> context) {
        this.context = context;
        files = context.getStateStore(FILES);
        plans = context.getStateStore(PLANS);
    }

    @Override
    public void process(Record<String, SpecificRecord> record) {
        if (record.value() instanceof Outcome outcome) {
            outcome(record, outcome);
        } else if (record.value() instanceof DispatchAttempt attempt) {
            attempt(attempt);
        } else if (record.value() instanceof PlannedDispatch plan) {
            plan(record.key(), plan);
        } else if (record.value() instanceof Arrival arrival) {
            arrival(arrival);
        }
    }

    private void outcome(Record<String, SpecificRecord> record, Outcome outcome) {
        FileState file = files.get(outcome.getFileId());
        PlannedDispatch plan = plans.get(record.key());
        DispatchState dispatch = file == null ? null : dispatch(file, outcome.getTarget());
        boolean success = outcome.getKind() == OutcomeKind.SUCCEEDED || outcome.getKind() == OutcomeKind.DUPLICATE;
        boolean confirms = plan != null && (plan.getConfirmedBy().getBy() == Confirmation.response
            || plan.getConfirmedBy().getBy() == Confirmation.transport);
        if (dispatch == null || !success || !confirms || dispatch.getStatus() != Status.IN_FLIGHT) {
            return;
        }
        long now = context.currentSystemTimeMs();
        RecordMetadata from = context.recordMetadata().orElseThrow();
        Cause cause = new Cause(from.topic(), from.partition(), from.offset());
        file.setVersion(file.getVersion() + 1);
        file.setCause(cause);
        dispatch.setStatus(Status.SUCCEEDED);
        dispatch.setVersion(file.getVersion());
        dispatch.setSince(now);
        dispatch.setSettledBy(SettledBy.target);
        dispatch.setNextEvent(null);
        dispatch.setAccountable(null);
        dispatch.setLastOutcome(new LastOutcome(outcome.getKind(), outcome.getCode(), now, outcome.getAttempt()));
        settleOrGoOn(file, now);
        files.put(file.getFileId(), file);

        HistoryEvent event = new HistoryEvent();
        event.setVersion(file.getVersion());
        event.setAt(now);
        event.setCause(cause);
        event.setTarget(outcome.getTarget());
        event.setJudgement(Judgement.applied);
        event.setOutcome(outcome);
        FileHistory history = new FileHistory();
        history.setFileId(file.getFileId());
        history.setSeq(file.getVersion());
        history.setVersion(file.getVersion());
        history.setCause(cause);
        history.setEvents(List.of(event));
        context.forward(new Record<>(file.getFileId() + "/" + file.getVersion(), history, record.timestamp()));
    }

    private static void settleOrGoOn(FileState file, long now) {
        NextEvent next = null;
        Accountable accountable = null;
        String target = null;
        for (DispatchState dispatch : file.getDispatches()) {
            if (dispatch.getStatus() == Status.SUCCEEDED) {
                continue;
            }
            if (next == null || dispatch.getNextEvent().getAt() < next.getAt()) {
                next = dispatch.getNextEvent();
                accountable = dispatch.getAccountable();
                target = dispatch.getTarget();
            }
        }
        if (next == null) {
            file.setState(State.COMPLETED);
            file.setSettledAt(now);
            file.setNextEvent(null);
            file.setAccountable(null);
        } else {
            file.setNextEvent(new NextEvent(next.getWhat(), next.getAt(), target));
            file.setAccountable(accountable);
        }
    }

    private void arrival(Arrival arrival) {
        FileState file = get(arrival.getFileId());
        file.setSchemaVersion(arrival.getManifest().getSchemaVersion());
        file.setFileType(arrival.getManifest().getFileType());
        file.setName(arrival.getManifest().getName());
        file.setProducedBy(arrival.getManifest().getProducedBy());
        file.setArrivalDigest(arrival.getManifestDigest());
        file.setReceivedAt(arrival.getReceivedAt());
        touch(file, arrival.getVersion(), arrival.getCause());
    }

    private void plan(String key, PlannedDispatch plan) {
        plans.put(key, plan);
        FileState file = get(plan.getFileId());
        DispatchState dispatch = getOrAdd(file, plan.getTarget());
        dispatch.setOwner(plan.getOwner());
        dispatch.setBudget(new Budget(plan.getRetry().getAttempts() - dispatch.getAttempts(),
            plan.getRetry().getOperatorAttempts(), plan.getRetry().getRefusals()));
        file.setRoutingDigest(plan.getRoutingDigest());
        file.setPlanDigest(plan.getPlanDigest());
        file.setDeadline(plan.getFileDeadline());
        file.setValidatedAt(plan.getPlannedAt());
        if (file.getState() == State.RECEIVED) {
            file.setState(State.VALIDATED);
        }
        touch(file, plan.getVersion(), plan.getCause());
    }

    private void attempt(DispatchAttempt attempt) {
        FileState file = get(attempt.getFileId());
        DispatchState dispatch = getOrAdd(file, attempt.getTarget());
        dispatch.setStatus(Status.IN_FLIGHT);
        dispatch.setAttempts(attempt.getAttempt());
        dispatch.setVersion(attempt.getVersion());
        dispatch.setSince(attempt.getAuthorizedAt());
        dispatch.setNextEvent(new NextEvent(NextEventKind.attempt_deadline, attempt.getDeadline(), null));
        dispatch.setAccountable(new Accountable("consign", attempt.getAuthorizedAt()));
        file.setState(State.DISTRIBUTING);
        file.setDistributingAt(attempt.getAuthorizedAt());
        file.setNextEvent(new NextEvent(NextEventKind.attempt_deadline, attempt.getDeadline(), attempt.getTarget()));
        file.setAccountable(dispatch.getAccountable());
        touch(file, attempt.getVersion(), attempt.getCause());
    }

    private void touch(FileState file, long version, Cause cause) {
        file.setVersion(Math.max(version, file.getVersion()));
        file.setCause(cause);
        files.put(file.getFileId(), file);
    }

    private FileState get(String id) {
        FileState file = files.get(id);
        if (file == null) {
            file = new FileState();
            file.setFileId(id);
            file.setState(State.RECEIVED);
            file.setFileType("");
            file.setName("");
            file.setProducedBy("");
            file.setArrivalDigest("");
            file.setDispatches(new ArrayList<>());
        }
        return file;
    }

    private static DispatchState dispatch(FileState file, String target) {
        for (DispatchState dispatch : file.getDispatches()) {
            if (dispatch.getTarget().equals(target)) {
                return dispatch;
            }
        }
        return null;
    }

    private static DispatchState getOrAdd(FileState file, String target) {
        DispatchState dispatch = dispatch(file, target);
        if (dispatch == null) {
            dispatch = new DispatchState();
            dispatch.setTarget(target);
            dispatch.setStatus(Status.PENDING);
            dispatch.setOwner("");
            dispatch.setBudget(new Budget(0, 0, 0));
            file.getDispatches().add(dispatch);
        }
        return dispatch;
    }
}
