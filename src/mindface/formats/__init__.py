"""Weight and data files of other projects, read and written without their frameworks."""
